"""The server: `braid serve RUN [RUN ...]`. Requests become batches by token budget, whatever tasks they ask for."""
