"""What goes over the wire: requests, answers, errors."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, WithJsonSchema, model_validator

from braid.serve.answer import Refused
from braid.serve.wire import loads

ROW = {
    "type": "object",
    "description": "A row as in a jsonl file. Labels that it has are left aside.",
    "properties": {
        "text": {"type": "string"},
        "pair": {"type": ["string", "null"]},
        "words": {"type": ["array", "null"], "items": {"type": "string", "minLength": 1}},
        "query": {"type": ["string", "integer", "null"]},
        "options": {"type": ["array", "null"], "items": {"type": "string", "minLength": 1}},
    },
    "anyOf": [{"required": ["text"]}, {"required": ["words"]}],
}
Row = Annotated[dict[str, Any], WithJsonSchema(ROW)]
Body = TypeVar("Body", bound=BaseModel)
FORMS = ("text", "texts", "words", "inputs")


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    model: str | None = None
    """Which model; without it the first one."""

    text: str | None = None
    """One text."""

    texts: list[str] | None = None
    """Several texts."""

    inputs: list[str | Row] | None = None
    """Texts and rows, mixed."""

    def given(self) -> list[Any]:
        """The inputs in one form: texts and rows."""
        raise NotImplementedError

    @property
    def single(self) -> bool:
        """Whether one input was given, not a list."""
        return self.text is not None


class PredictRequest(_Request):
    """One of `text`, `texts`, `words`, `inputs`."""

    pair: str | None = None
    """What belongs to `text`: a second sentence, the passage that a question is asked about."""

    pairs: list[str | None] | None = None
    """One for each of `texts`."""

    words: list[str] | list[list[str]] | None = None
    """One input, or several, already divided into words."""

    options: list[str] | None = None
    """What a multiple-choice task chooses from, beside `text`."""

    tasks: list[str] | None = None
    """Only these tasks; without it, all that can read the input."""

    @model_validator(mode="after")
    def _fits(self) -> PredictRequest:
        forms = [name for name in FORMS if getattr(self, name) is not None]
        if len(forms) != 1:
            raise ValueError(f"give one of {', '.join(FORMS)}; there are {', '.join(forms) or 'none'}")
        for name in ("pair", "options"):
            if getattr(self, name) is not None and self.text is None:
                raise ValueError(f"`{name}` goes with `text`")
        if self.pairs is not None and (self.texts is None or len(self.pairs) != len(self.texts)):
            raise ValueError(f"`pairs` ({len(self.pairs)}) goes with as many `texts` ({len(self.texts or ())})")
        return self

    def given(self) -> list[Any]:
        """The inputs in one form: texts and rows."""
        if self.inputs is not None:
            return self.inputs
        if self.texts is not None:
            pairs = self.pairs or [None] * len(self.texts)
            return [
                text if pair is None else {"text": text, "pair": pair}
                for text, pair in zip(self.texts, pairs, strict=True)
            ]
        if self.words is not None:
            several = bool(self.words) and isinstance(self.words[0], list)
            return [{"words": words} for words in (self.words if several else [self.words])]
        if self.pair is None and self.options is None:
            return [self.text]
        return [{"text": self.text, "pair": self.pair, "options": self.options}]


class EmbedRequest(_Request):
    """One of `text`, `texts`, `inputs`."""

    task: str | None = None
    """The `similarity` task whose vectors are wanted; without it the first one, or the mean of the hidden states."""

    @model_validator(mode="after")
    def _fits(self) -> EmbedRequest:
        forms = [name for name in FORMS if getattr(self, name, None) is not None]
        if len(forms) != 1:
            raise ValueError(f"give one of text, texts, inputs; there are {', '.join(forms) or 'none'}")
        return self

    def given(self) -> list[Any]:
        """The inputs in one form: texts and rows."""
        return self.inputs if self.inputs is not None else self.texts if self.texts is not None else [self.text]


class ReloadRequest(BaseModel):
    """Which model to load anew."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    model: str | None = None
    """Without it, all."""


class Milliseconds(BaseModel):
    """Where a request's time went."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    read: float
    """Checked and tokenised."""
    queue: float
    """Waited for its first batch."""
    compute: float
    """From its first batch to the end of its last."""
    tell: float
    """Decoded and written."""
    total: float


class PredictAnswer(BaseModel):
    """One result for each input, in order."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    model: str
    results: list[dict[str, Any]]
    """The input (`text`, `pair`, ...) and one key for each task, as `braid predict` writes them."""
    milliseconds: Milliseconds


class EmbedAnswer(BaseModel):
    """One vector for each input, in order."""

    model: str
    embeddings: list[list[float | None]]
    milliseconds: Milliseconds


class TaskFacts(BaseModel):
    """What is known of a task."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str
    labels: list[str] | None
    metric: str
    """Its first metric."""
    predicts: bool
    """Whether it says anything of new texts."""
    needs: list[str]
    """What a row must have beside `text`, for it to say anything: `pair`, `options`."""
    example: dict[str, Any] | None
    """An input that it can read."""


class ModelFacts(BaseModel):
    """The tasks of a model."""

    tasks: dict[str, TaskFacts]


class TasksAnswer(BaseModel):
    """All models; *default*: the one that answers where a request names none."""

    default: str
    models: dict[str, ModelFacts]


class Fault(BaseModel):
    """What is wrong, and where in the request."""

    type: str
    message: str
    where: str | None = None


class ErrorAnswer(BaseModel):
    """What every status from 400 on comes with."""

    error: Fault


def parsed(raw: bytes, kind: type[Body], *, empty: bool = False) -> Body:
    """A body as what it should be. *empty*: it may be missing. Raises Refused."""
    try:
        content = loads(raw) if raw or not empty else {}
    except (ValueError, RecursionError) as error:
        raise Refused(400, "json", f"the body is no JSON: {error}", where="body") from error
    if not isinstance(content, dict):
        raise Refused(422, "request", f"the body must be a JSON object, not {type(content).__name__}", where="body")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        found = [(".".join(map(str, one["loc"])), one["msg"].removeprefix("Value error, ")) for one in error.errors()]
        message = "; ".join(f"{where}: {what}" if where else what for where, what in found[:20])
        raise Refused(422, "request", message, where=found[0][0] or "body") from error
