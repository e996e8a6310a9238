"""`Variant`: a frozen config class that is found by its `type`.

Each extension point (task types, encoders, sources, samplers, balancers, regularisers) is one *family*: a base
class that names the package whose modules hold its variants and the entry-point group through which
other packages add theirs. A subclass with `type: Literal["x"]` registers itself as `x`. Nothing keeps
a list by hand: a new variant is one new file.

A field annotated with a family's base class takes any of its variants. Which one is looked up in the
registry when a value is validated, so a variant that is registered later is found without a rebuild.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import os
import pkgutil
import sys
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, Self, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError, field_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, PydanticKnownError, core_schema
from pydantic_core.core_schema import ValidationInfo

from braid.errors import BraidError, PluginError, did_you_mean


class Config(BaseModel):
    """A frozen piece of configuration: unknown keys are errors, attribute docstrings describe fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, defer_build=True, allow_inf_nan=False
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        """A value with what people may leave out of it filled in; what it cannot understand it returns as it is."""
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """pydantic takes true for 1; `epochs: true` is a mistake all the same."""
        if isinstance(value, bool) and info.field_name is not None:
            kinds = {kind for kind in _members(cls.model_fields[info.field_name].annotation) if kind is not type(None)}
            if kinds and kinds <= {int, float}:
                raise PydanticKnownError("float_type" if float in kinds else "int_type")
        return value


class Variant(Config):
    """Base of all families. A family's base class sets `family`, `package` and `default`.

    *family*: its name, also the entry-point group `braid.<family>` and the argument of `braid list`.
    *package*: where its modules are, one variant (or a few close ones) a file.
    *default*: the `type` that is meant when a mapping names none; None: `type` is required.
    """

    family: ClassVar[str] = ""
    package: ClassVar[str] = ""
    default: ClassVar[str | None] = None
    shorthand: ClassVar[str | None] = None
    """The field that a bare string stands for: `source: tsv` is `{type: tsv}` with shorthand `type`."""

    registry: ClassVar[dict[str, type[Variant]]] = {}
    _discovered: ClassVar[bool] = False

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "family" in cls.__dict__:
            cls.registry, cls._discovered = {}, False
            return
        for name in cls.type_names():
            other = cls.registry.get(name)
            if other is not None and not _same(other, cls):
                raise PluginError(
                    f"two {cls.family} are called {name!r}: {file_of(other)} and {file_of(cls)}. Rename one of them."
                )
        for name in cls.type_names():
            cls.registry[name] = cls

    @classmethod
    def type_names(cls) -> tuple[str, ...]:
        """The names of this variant: what its own `type: Literal[...]` lists (empty for abstract bases)."""
        if "type" not in inspect.get_annotations(cls):
            return ()
        annotation = cls.model_fields["type"].annotation
        return tuple(get_args(annotation)) if get_origin(annotation) is Literal else ()

    @classmethod
    def variants(cls) -> dict[str, type[Self]]:
        """All variants of this family by name, after discovery of modules and entry points.

        Raises PluginError when an entry point of another package cannot be loaded."""
        base = cls.family_base()
        if not base._discovered:
            # Set first: a module may ask for the variants while it is imported itself.
            base._discovered = True
            try:
                base._discover()
            except BaseException:
                base._discovered = False
                raise
        return cast("dict[str, type[Self]]", dict(sorted(base.registry.items())))

    @classmethod
    def _discover(cls) -> None:
        if cls.package:
            package = importlib.import_module(cls.package)
            for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda item: item.name):
                importlib.import_module(f"{cls.package}.{module.name}")
        for entry in importlib.metadata.entry_points(group=f"braid.{cls.family}"):
            try:
                entry.load()
            except BraidError:
                raise
            except Exception as error:
                owner = f" of {entry.dist.name}" if entry.dist is not None else ""
                raise PluginError(
                    f"entry point {entry.name!r}{owner} (group braid.{cls.family}: {entry.value}) cannot be loaded: "
                    f"{type(error).__name__}: {error}"
                ) from error

    @classmethod
    def family_base(cls) -> type[Variant]:
        """The family's base class (`TaskConfig` for any task type)."""
        for base in cls.__mro__:
            if "family" in base.__dict__ and base is not Variant:
                return base
        raise AssertionError(f"{cls.__name__} belongs to no family")

    @classmethod
    def lookup(cls, name: str) -> type[Self]:
        """The variant called `name`. Raises BraidError with the nearest right spelling."""
        variants = cls.variants()
        if name not in variants:
            raise BraidError(f"there is no {cls.kind()} {name!r}: {did_you_mean(name, variants)}")
        return variants[name]

    @classmethod
    def kind(cls) -> str:
        """What a `type` of this family is called in messages: `task type`."""
        return f"{cls.family_base().family.removesuffix('s')} type"

    @classmethod
    def of_default(cls) -> Self:
        """The family's default variant with its own defaults."""
        assert cls.default is not None, f"{cls.family} has no default"
        return cls.lookup(cls.default)()

    @classmethod
    def expand(cls, value: Any) -> Any:
        """A bare string as the mapping that it stands for, and a mapping without `type` with the family's default."""
        if isinstance(value, str) and cls.shorthand is not None:
            value = {cls.shorthand: value}
        if isinstance(value, dict) and "type" not in value and cls.default is not None:
            value = {"type": cls.default, **value}
        return value

    @classmethod
    def choose(cls, value: Any) -> Self:
        """The variant that a value is, or describes. Raises ValidationError, as pydantic expects of a validator."""
        if isinstance(value, cls):
            return value
        given = cls.expand(value)
        if not isinstance(given, dict):
            expected = "a mapping" if cls.shorthand is None else "text or a mapping"
            raise _custom("not_a_variant", f"expected {expected}")
        variants = cls.variants()
        if "type" not in given:
            raise _custom("missing_type", f"`type` is missing; one of: {', '.join(variants)}")
        if not isinstance(given["type"], str) or given["type"] not in variants:
            message = f"unknown {cls.kind()} {given['type']!r}: {did_you_mean(str(given['type']), variants)}"
            detail = InitErrorDetails(type=_custom("unknown_type", message), loc=("type",), input=given["type"])
            raise ValidationError.from_exception_data(cls.__name__, [detail])
        return variants[given["type"]].model_validate(given)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        if "family" not in cls.__dict__ or cls is Variant:
            return handler(source)
        # Serialised as what the value is, not as what the field says: all fields of the variant are written.
        return core_schema.no_info_plain_validator_function(cls.choose)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        if "family" not in cls.__dict__ or cls is Variant:
            return handler(schema)
        choices = {name: _referable(variant) for name, variant in cls.variants().items()}
        if not choices:
            return {"type": "object"}
        union = handler(core_schema.tagged_union_schema(choices=choices, discriminator="type"))
        for name, reference in zip(choices, union["oneOf"], strict=True):
            body = handler.resolve_ref_schema(reference)
            if name != cls.default and "type" not in body.setdefault("required", []):
                body["required"].append("type")
        described: JsonSchemaValue = {**union, "description": inspect.cleandoc(cls.__doc__ or "")}
        if cls.shorthand is None:
            return described
        names: JsonSchemaValue = {"enum": list(cls.variants())} if cls.shorthand == "type" else {"type": "string"}
        return {"anyOf": [names, union], "description": described["description"]}


def _referable(variant: type[Variant]) -> CoreSchema:
    """A variant's core schema with a reference, so that the JSON Schema defines it once and not at each use."""
    variant.model_rebuild()
    schema: dict[str, Any] = dict(variant.__pydantic_core_schema__)
    reference = f"{variant.__module__}.{variant.__qualname__}:{id(variant)}"
    if schema["type"] == "definitions":
        schema["schema"] = {"ref": reference, **schema["schema"]}
    else:
        schema.setdefault("ref", reference)
    return cast(CoreSchema, schema)


def _custom(kind: str, message: str) -> PydanticCustomError:
    # pydantic fills {braces} in from the context; the message goes through it unharmed.
    return PydanticCustomError(kind, "{message}", {"message": message})


def _members(annotation: Any) -> tuple[Any, ...]:
    """The types of a union; any other annotation alone."""
    from types import UnionType
    from typing import Union

    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _same(one: type, other: type) -> bool:
    """Whether two classes are one: defined again (a notebook's cell), or their file imported under two names."""
    if one.__qualname__ != other.__qualname__:
        return False
    return one.__module__ == other.__module__ or os.path.realpath(file_of(one)) == os.path.realpath(file_of(other))


def file_of(cls: type) -> str:
    """The file that defines a class, for messages and `braid list`."""
    try:
        return inspect.getfile(cls)
    except (TypeError, OSError):
        return getattr(sys.modules.get(cls.__module__), "__file__", None) or cls.__module__


def families() -> Iterator[type[Variant]]:
    """The base class of every family."""
    for base in Variant.__subclasses__():
        if "family" in base.__dict__:
            yield base
