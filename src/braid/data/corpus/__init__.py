"""Text without labels, for pre-training: documents -> token shards -> rows."""
