"""`Variant`: a frozen config class that is found by its `type`.

Each extension point (task types, encoders, sources, samplers, balancers) is one *family*: a base
class that names the package whose modules hold its variants and the entry-point group through which
other packages add theirs. A subclass with `type: Literal["x"]` registers itself as `x`. Nothing keeps
a list by hand: a new variant is one new file.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from braid.errors import BraidError, PluginError, did_you_mean


class Config(BaseModel):
    """A frozen piece of configuration: unknown keys are errors, attribute docstrings describe fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, defer_build=True, allow_inf_nan=False
    )


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
            if other is not None and _identity(other) != _identity(cls):
                raise PluginError(
                    f"two {cls.family} are called {name!r}: {file_of(other)} and {file_of(cls)}. Rename one of them."
                )
            cls.registry[name] = cls

    @classmethod
    def type_names(cls) -> tuple[str, ...]:
        """The names of this variant: what its own `type: Literal[...]` lists (empty for abstract bases)."""
        if "type" not in cls.__dict__.get("__annotations__", {}):
            return ()
        annotation = cls.model_fields["type"].annotation
        return tuple(get_args(annotation)) if get_origin(annotation) is Literal else ()

    @classmethod
    def variants(cls) -> dict[str, type[Self]]:
        """All variants of this family by name, after discovery of modules and entry points."""
        base = cls.family_base()
        if not base._discovered:
            base._discovered = True
            package = importlib.import_module(base.package)
            for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda item: item.name):
                importlib.import_module(f"{base.package}.{module.name}")
            for entry in importlib.metadata.entry_points(group=f"braid.{base.family}"):
                entry.load()
        return dict(sorted(base.registry.items()))  # type: ignore[arg-type]

    @classmethod
    def family_base(cls) -> type[Variant]:
        """The family's base class (`TaskConfig` for any task type)."""
        for base in cls.__mro__:
            if "family" in base.__dict__ and base is not Variant:
                return base  # type: ignore[return-value]
        raise AssertionError(f"{cls.__name__} belongs to no family")

    @classmethod
    def lookup(cls, name: str) -> type[Self]:
        """The variant called `name`. Raises BraidError with the nearest right spelling."""
        variants = cls.variants()
        if name not in variants:
            raise BraidError(f"there is no {cls.family_base().family} type {name!r}: {did_you_mean(name, variants)}")
        return variants[name]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        if "family" not in cls.__dict__ or cls is Variant:
            return handler(source)
        choices = {name: handler.generate_schema(variant) for name, variant in cls.variants().items()}
        default, shorthand = cls.default, cls.shorthand

        def expand(value: Any) -> Any:
            if isinstance(value, str) and shorthand is not None:
                return {shorthand: value}
            return value

        def tag(value: Any) -> Any:
            if isinstance(value, dict):
                return value.get("type", default)
            return getattr(value, "type", None)

        def fill(value: Any) -> Any:
            value = expand(value)
            if isinstance(value, dict) and "type" not in value and default is not None:
                return {"type": default, **value}
            return value

        return core_schema.no_info_before_validator_function(
            fill, core_schema.tagged_union_schema(choices=choices, discriminator=tag)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema)


def _identity(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__


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
