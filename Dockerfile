# A server on CPUs: docker build -t braid . && docker run -p 8000:8000 -v ./runs/reviews:/model:ro braid
# Where pip finds the CPU build of torch without CUDA's packages is given as PIP_INDEX_URL or PIP_EXTRA_INDEX_URL.

FROM python:3.12-slim AS build
ARG TORCH="torch==2.13.0"
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/braid
ENV PATH=/opt/braid/bin:$PATH
COPY constraints.txt /source/
RUN pip install -c /source/constraints.txt "$TORCH"
COPY pyproject.toml README.md /source/
COPY src /source/src
RUN pip install -c /source/constraints.txt "/source[serve]"

FROM python:3.12-slim
COPY --from=build /opt/braid /opt/braid
ENV PATH=/opt/braid/bin:$PATH PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
RUN useradd --system --no-create-home braid
USER braid
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health/ready', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["braid"]
CMD ["serve", "/model", "--host", "0.0.0.0", "--port", "8000"]
