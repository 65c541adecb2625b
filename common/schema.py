"""What a file says has the types and bounds that its dataclass declares: the one place that checks headers and YAML.

A field's bounds stand in its annotation, as in ``Annotated[int, Interval(ge=1, le=64)]``; pydantic checks them before
anything is made of the values. It is imported when the first file is read, and is no part of the dataclasses.

Values are taken as JSON has them and never converted: no text for a number, no 1 for true, no 2.0 for 2, and neither
infinities nor NaN.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NotRequired, TypeVar, get_args, get_type_hints

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

Kind = TypeVar("Kind")
Path = tuple[str | int, ...]  # to a value: keys, and places in lists

_CONFIG = {"extra": "forbid", "strict": True, "allow_inf_nan": False, "arbitrary_types_allowed": True}
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument", "unexpected_positional_argument")
_KEYS_WANTED = ("dataclass_type", "dict_type", "dict_attributes_type", "mapping_type", "typed_dict_type")
_RULES = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "int_parsing_size": "an integer of fewer digits",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "greater_than_equal": "at least {ge}",
    "greater_than": "above {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "below {lt}",
    "string_too_short": "text of at least {min_length} letters",
    "string_too_long": "text of at most {max_length} letters",
}


def checked(kind: type[Kind], given: Any, path: str = "") -> Kind:
    """An instance of a dataclass, of keys and values.

    path: of the whole in its file, for the messages. ValueError, in one line, at the first value that does not have
    the declared type or bounds, for an unknown key, and where the class itself refuses.
    """
    adapter = _of_class(kind)  # type: ignore[arg-type]
    found: Kind = _validated(adapter, kind, given, path)
    return found


def checked_fields(kind: type, given: Any, path: str = "", *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The values of a dataclass's fields, for who makes it with others that come from elsewhere: those ``without``.

    A field with a default may lack, in the result too. ValueError as of `checked`.
    """
    found: dict[str, Any] = _validated(_of_fields(kind, without), kind, given, path)
    return found


class Checked:
    """Of a dataclass whose constructor refuses what a file is refused for: ValueError as of `checked`.

    Lists become tuples. Fields that hold dataclasses are left alone: these check themselves.
    """

    def __post_init__(self) -> None:
        kind: Any = type(self)
        inner = _with_dataclasses(kind)
        given = {x.name: getattr(self, x.name) for x in fields(kind) if x.init and x.name not in inner}
        for key, value in checked_fields(kind, given, without=inner).items():
            object.__setattr__(self, key, value)


def json_object(text: str | None) -> dict[str, Any]:
    """What a header says, as keys and values. ValueError for anything else, however deep or long."""
    if text is None:
        raise ValueError("its header is missing")
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    except ValueError as error:  # also for a number of more digits than Python takes
        raise ValueError(f"its header is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"its header must be keys and values, not {shown(found)}")
    return found


@contextmanager
def reading(where: object) -> Iterator[None]:
    """Name the file in the error where it is too deep, too large or no text for whoever parses it."""
    try:
        yield
    except RecursionError:
        raise ValueError(f"{where} is nested too deeply to be read") from None
    except MemoryError:
        raise ValueError(f"{where} asks for more memory than there is") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is no text in UTF-8: byte {error.start + 1} begins no letter") from None


def shown(value: Any) -> str:
    """A value for a message: of long ones the beginning."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 60
    return short.repr(value)


@cache
def _of_class(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    # The adapter's own configuration holds inside a tuple; for a dataclass alone only that of the class would.
    return TypeAdapter(tuple[kind], config=_CONFIG)  # type: ignore[valid-type, arg-type]


@cache
def _of_fields(kind: Any, without: tuple[str, ...]) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter
    from typing_extensions import TypedDict  # typing's, as of Python 3.12

    hints = get_type_hints(kind, include_extras=True)
    wanted = {
        x.name: hints[x.name] if x.default is MISSING and x.default_factory is MISSING else NotRequired[hints[x.name]]
        for x in fields(kind)
        if x.init and x.name not in without
    }
    mapping = TypedDict(kind.__name__, wanted)  # type: ignore[misc, operator]
    setattr(mapping, "__pydantic_config__", _CONFIG)  # noqa: B010 (mypy knows no such attribute)
    return TypeAdapter(tuple[mapping])  # type: ignore[valid-type]


@cache
def _with_dataclasses(kind: Any) -> tuple[str, ...]:
    """Names of the fields that hold dataclasses."""
    hints = get_type_hints(kind)
    return tuple(name for name, hint in hints.items() if any(is_dataclass(x) for x in (hint, *get_args(hint))))


def _validated(adapter: TypeAdapter[Any], kind: type, given: Any, path: str) -> Any:
    from pydantic import ValidationError

    try:
        text = json.dumps([given], default=repr)  # as in JSON: what YAML has beyond it, such as dates, becomes text
        return adapter.validate_json(text)[0]
    except ValidationError as error:
        raise ValueError(_message(error, kind, path)) from None
    except RecursionError:
        raise ValueError(f"{path or 'the file'} is nested too deeply") from None


def _message(error: ValidationError, kind: type, path: str) -> str:
    """The line for the first mistake; an unknown key comes first, as it may be a known one that was mistyped."""
    mistakes = error.errors(include_url=False)
    first = next((x for x in mistakes if x["type"] in _UNKNOWN), mistakes[0])
    place: Path = tuple(first["loc"][1:])
    where = ".".join(str(x) for x in (*([path] if path else []), *place))
    what = first["type"]
    rules: dict[str, Any]
    rules = {key: int(x) if isinstance(x, float) and x.is_integer() else x for key, x in first.get("ctx", {}).items()}
    if what in _UNKNOWN:
        return f"{where}: unknown key; allowed: {', '.join(_keys(kind, place[:-1]))}"
    if what in _KEYS_WANTED:
        free = what == "dict_type" and place  # of any names; at the top it is the class itself
        names = "" if free else f" ({', '.join(_keys(kind, place))})"
        return f"{where or 'it'} must have keys of its own{names}, not {shown(first['input'])}"
    if what == "value_error":  # of the class
        return f"{where}{'.' if where else ''}{rules['error']}"
    if what == "json_invalid":
        return f"{where or 'it'} is nested too deeply, or has text that is none"
    if what == "missing" and isinstance(place[-1], int):  # of a tuple, whose other items are there
        where = where.rpartition(".")[0]
        wanted = 1 + max(int(x["loc"][-1]) for x in mistakes if x["loc"][:-1] == first["loc"][:-1])
        return f"{where} must have {wanted} items, not {len(first['input'])}"
    if what in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{where} is missing"
    if what in ("too_short", "too_long"):
        limit = rules.get("max_length", rules.get("min_length"))
        return f"{where} must have {limit} items, not {rules['actual_length']}"
    if what == "literal_error":
        names = rules["expected"].replace(" or ", ", ").replace("'", "")
        return f"{where} must be one of {names}, not {shown(first['input'])}"
    rule = _RULES[what].format(**rules) if what in _RULES else first["msg"]
    return f"{where} must be {rule}, not {shown(first['input'])}"


def _keys(kind: Any, place: Path) -> list[str]:
    """Names that the keys at a place of a dataclass can have."""
    for step in place:
        hint = get_type_hints(kind)[step] if isinstance(step, str) else kind
        kind = next((x for x in (hint, *get_args(hint)) if is_dataclass(x)), kind)
    return [x.name for x in fields(kind) if x.init]
