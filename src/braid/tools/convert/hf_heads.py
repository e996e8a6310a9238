"""The heads of transformers' models as heads of ours, and back.

A row says which of our head's modules is which of theirs. `pooler` stands for the module behind the first token, which
belongs to their encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

POOLER = "pooler"

Names = Mapping[str, str]
"""Our modules or tensors to theirs."""

_BERT_MLM: Names = {
    "predictor.dense": "cls.predictions.transform.dense",
    "predictor.norm": "cls.predictions.transform.LayerNorm",
    "predictor.bias": "cls.predictions.bias",
    "predictor.words": "cls.predictions.decoder.weight",
}
_ROBERTA_MLM: Names = {
    "predictor.dense": "lm_head.dense",
    "predictor.norm": "lm_head.layer_norm",
    "predictor.bias": "lm_head.bias",
    "predictor.words": "lm_head.decoder.weight",
}
_ALBERT_MLM: Names = {
    "predictor.dense": "predictions.dense",
    "predictor.norm": "predictions.LayerNorm",
    "predictor.bias": "predictions.bias",
    "predictor.words": "predictions.decoder.weight",
}
_DISTILBERT_MLM: Names = {
    "predictor.dense": "vocab_transform",
    "predictor.norm": "vocab_layer_norm",
    "predictor.bias": "vocab_projector.bias",
    "predictor.words": "vocab_projector.weight",
}
_ELECTRA_MLM: Names = {
    "predictor.dense": "generator_predictions.dense",
    "predictor.norm": "generator_predictions.LayerNorm",
    "predictor.bias": "generator_lm_head.bias",
    "predictor.words": "generator_lm_head.weight",
}
_POOLED: Names = {"features.dense": POOLER, "classifier": "classifier"}
_ROBERTA_POOLED: Names = {"features.dense": "classifier.dense", "classifier": "classifier.out_proj"}
_NSP: Names = {"features.dense": POOLER, "classifier": "cls.seq_relationship"}
_SOP: Names = {"features.dense": POOLER, "classifier": "sop_classifier.classifier"}
_TAGGING: Names = {"classifier": "classifier"}
_SPAN: Names = {"classifier": "qa_outputs"}
_CHOICE: Names = {"features.dense": POOLER, "output": "classifier"}


def _regression(pooled: Names) -> Names:
    return {("output" if ours == "classifier" else ours): theirs for ours, theirs in pooled.items()}


def _usual(mlm: Names, pooled: Names | None, **more: Names) -> dict[str, Names]:
    rows = {"mlm": mlm, "tagging": _TAGGING, "span": _SPAN, **more}
    if pooled is not None:
        rows |= {"classification": pooled, "multilabel": pooled, "regression": _regression(pooled)}
    return rows


_OF_ROBERTA = _usual(_ROBERTA_MLM, _ROBERTA_POOLED)
HEADS: dict[str, dict[str, Names]] = {
    "bert": _usual(_BERT_MLM, _POOLED, nsp=_NSP, multiple_choice=_CHOICE),
    "ernie": _usual(_BERT_MLM, _POOLED, nsp=_NSP, multiple_choice=_CHOICE),
    "roberta": _OF_ROBERTA,
    "xlm-roberta": _OF_ROBERTA,
    "camembert": _OF_ROBERTA,
    "albert": _usual(_ALBERT_MLM, _POOLED, sop=_SOP, multiple_choice=_CHOICE),
    # Their classifiers have another activation than tanh behind the first token.
    "distilbert": _usual(_DISTILBERT_MLM, None),
    "electra": _usual(_ELECTRA_MLM, None),
    "gpt2": {"clm": {"predictor.words": "lm_head.weight"}},
}
"""By `model_type`, then by our task type."""


def second_bias(names: Names) -> str | None:
    """The other name that the bias of an output layer has in transformers: the layer's own, which is what is added. It
    is another tensor where the layer is not tied to the word embeddings; else it is not saved."""
    if "predictor.words" not in names or "predictor.bias" not in names:
        return None
    name = names["predictor.words"].removesuffix("weight") + "bias"
    return None if name == names["predictor.bias"] else name


_CLASSES = {
    "bert": "Bert",
    "ernie": "Ernie",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "camembert": "Camembert",
    "albert": "Albert",
    "distilbert": "DistilBert",
    "electra": "Electra",
    "gpt2": "GPT2",
    "modernbert": "ModernBert",
}


@dataclass(frozen=True)
class Architecture:
    """A class of transformers: how its name ends, our task types that it holds, and whether its encoder has a pooler
    (where the model type has any)."""

    suffix: str
    types: frozenset[str]
    pooler: bool
    only: frozenset[str] = frozenset()
    """Model types that have it; none: all."""


def _architecture(suffix: str, types: str, *, pooler: bool = False, only: str = "") -> Architecture:
    return Architecture(suffix, frozenset(types.split()), pooler, frozenset(only.split()))


ARCHITECTURES = (
    _architecture("Model", "", pooler=True),
    _architecture("ForPreTraining", "mlm nsp", pooler=True, only="bert ernie"),
    _architecture("ForPreTraining", "mlm sop", pooler=True, only="albert"),
    _architecture("ForNextSentencePrediction", "nsp", pooler=True, only="bert ernie"),
    _architecture("ForMaskedLM", "mlm"),
    _architecture("LMHeadModel", "clm", only="gpt2"),
    _architecture("ForSequenceClassification", "classification", pooler=True),
    _architecture("ForSequenceClassification", "multilabel", pooler=True),
    _architecture("ForSequenceClassification", "regression", pooler=True),
    _architecture("ForTokenClassification", "tagging"),
    _architecture("ForQuestionAnswering", "span"),
    _architecture("ForMultipleChoice", "multiple_choice", pooler=True, only="bert ernie albert"),
)


def architecture_for(model_type: str, types: frozenset[str]) -> Architecture | None:
    """The class of a model type that holds exactly these tasks."""
    for one in ARCHITECTURES:
        if one.types == types and (not one.only or model_type in one.only):
            return one if not types or types <= HEADS.get(model_type, {}).keys() else None
    return None


def class_name(model_type: str, architecture: Architecture) -> str | None:
    """Its name; None for encoders that transformers does not have."""
    stem = _CLASSES.get(model_type)
    return None if stem is None else stem + architecture.suffix
