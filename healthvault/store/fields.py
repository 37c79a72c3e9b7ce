"""A model field whose value is sealed in the database.

The attribute holds the plain value; what is written is sealed, bound to model, row and field, so that a
value moved to another row does not open. Values are opened when they are first read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast
from uuid import UUID

from django.core import checks
from django.core.exceptions import FieldDoesNotExist, FieldError, ObjectDoesNotExist
from django.db import models

from healthvault.store.errors import Shredded
from healthvault.store.keyrings import IDENTITY, VAULT, named_keyring
from healthvault.vault.sealing import cipher, open_sealed, seal


class SealedBytes(bytes):
    """A value as it stands in the database; the mark that it is sealed."""

    __slots__ = ()


class SealedAttribute:
    """Opens the value at the first reading, and keeps it in the instance."""

    def __init__(self, field: SealedField) -> None:
        self.field = field

    def __get__(self, instance: models.Model | None, owner: type | None = None) -> Any:
        if instance is None:
            return self
        values, name = instance.__dict__, self.field.attname
        if name not in values:
            values[name] = self._load(instance)
        value = values[name]
        if type(value) is SealedBytes:
            value = values[name] = self.field.open_for(instance, value)
        return value

    def __set__(self, instance: models.Model, value: Any) -> None:
        instance.__dict__[self.field.attname] = value

    def _load(self, instance: models.Model) -> Any:
        # Not by refresh_from_db: that would read from a second instance, which would have to fetch
        # the whole way to the holder again.
        rows = type(instance)._base_manager.using(instance._state.db).filter(pk=instance.pk)
        return rows.values_list(self.field.attname, flat=True).get()


class SealedField(models.BinaryField):
    """Text, or JSON with `json=True`, sealed.

    `holder` names the way to the HolderKey whose key seals the value ("holder", "record.holder");
    without it the keyring does, `keyring="identity"` choosing the one of our own private keys. NULL
    stays NULL. It cannot be filtered on or indexed (`healthvault.store.lookup` makes look-up columns),
    and `update()` takes only what `seal_value` made. After a change of holder use `reseal`.
    """

    # The types that django-stubs gives the attribute: what is in it, not what is in the database.
    _pyi_private_set_type: Any
    _pyi_private_get_type: Any
    _pyi_lookup_exact_type: Any

    description = "Sealed text or JSON"
    descriptor_class = SealedAttribute
    empty_values = (None, "", b"")

    def __init__(
        self, *args: Any, json: bool = False, holder: str = "", keyring: str = VAULT, **kwargs: Any
    ) -> None:
        if keyring not in (VAULT, IDENTITY):
            raise ValueError(f"there is no keyring {keyring!r}")
        self.json = json
        self.holder = holder
        self.keyring = keyring
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        if self.json:
            kwargs["json"] = True
        if self.holder:
            kwargs["holder"] = self.holder
        if self.keyring != VAULT:
            kwargs["keyring"] = self.keyring
        return name, path, args, kwargs

    # --- sealing and opening ----------------------------------------------------------------------

    def aad(self, pk: Any) -> bytes:
        """Where a value of this field belongs: model, field, row."""
        return self.aad_prefix() + (pk.bytes if isinstance(pk, UUID) else str(pk).encode())

    def aad_prefix(self) -> bytes:
        return f"field\x00{self.model._meta.label_lower}\x00{self.name}\x00".encode()

    def encode(self, value: Any) -> bytes:
        """The value as bytes; raises TypeError for what this field does not hold."""
        if self.json:
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        elif isinstance(value, str):
            text = value
        else:
            raise TypeError(f"{self} holds text, not {type(value).__name__}")
        # Text out of hostile mail may hold lone surrogates, which must come back as they were.
        return text.encode("utf-8", "surrogatepass")

    def decode(self, content: bytes) -> Any:
        """The value of `encode`'s bytes."""
        text = content.decode("utf-8", "surrogatepass")
        return json.loads(text) if self.json else text

    def seal(self, pk: Any, value: Any, holder_key: bytes | None = None) -> SealedBytes:
        """`value` sealed for the row `pk`, under `holder_key` or the keyring."""
        content, aad = self.encode(value), self.aad(pk)
        if holder_key is None:
            return SealedBytes(named_keyring(self.keyring).wrap(content, aad))
        return SealedBytes(seal(cipher(holder_key), content, aad))

    def open(self, pk: Any, sealed: bytes, holder_key: bytes | None = None) -> Any:
        """What `seal` sealed; raises Tampered, UnknownKey, KeyringUnavailable."""
        aad = self.aad(pk)
        if holder_key is None:
            return self.decode(named_keyring(self.keyring).unwrap(sealed, aad))
        return self.decode(open_sealed(cipher(holder_key), sealed, aad))

    def open_for(self, instance: models.Model, sealed: bytes) -> Any:
        """Open a value of `instance`; raises Shredded when the way to its holder ends."""
        return self.open(instance.pk, sealed, self.holder_key(instance))

    def holder_key(self, instance: Any) -> bytes | None:
        """The key at the end of `holder`, or None for a field under the keyring."""
        if not self.holder:
            return None
        target = instance
        for name in self.holder.split("."):
            try:
                target = getattr(target, name)
            except ObjectDoesNotExist as error:
                raise Shredded(f"{self}: there is no {name}") from error
            if target is None:
                raise Shredded(f"{self}: there is no {name}")
        return cast(bytes, target.unwrap())

    # --- Django's side ----------------------------------------------------------------------------

    def pre_save(self, model_instance: models.Model, add: bool) -> SealedBytes | None:
        value = model_instance.__dict__.get(self.attname)
        if value is None:
            return None
        if model_instance.pk is None:
            raise ValueError(f"{self}: the row needs its id before it can be sealed")
        if type(value) is SealedBytes:
            if add:
                # A copy under a new id takes values along that would never open again: say so now.
                self.open_for(model_instance, value)
            return value
        return self.seal(model_instance.pk, value, self.holder_key(model_instance))

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> SealedBytes | None:
        return None if value is None else SealedBytes(value)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if value is not None and not isinstance(value, SealedBytes):
            raise TypeError(f"{self}: only sealed values are written; save the instance, or use seal_value()")
        return super().get_db_prep_value(value, connection, prepared)

    def get_default(self) -> Any:
        if self.has_default():
            return self.default() if callable(self.default) else self.default
        return None if self.null or self.json else ""

    def to_python(self, value: Any) -> Any:
        return value

    def value_to_string(self, obj: models.Model) -> str:
        raise TypeError(f"{self}: sealed values are not serialised; back up the database instead")

    def get_lookup(self, lookup_name: str) -> Any:
        if lookup_name == "isnull":
            return super().get_lookup(lookup_name)
        raise FieldError(f"{self} is sealed and cannot be compared in a query")

    def get_transform(self, lookup_name: str) -> Any:
        raise FieldError(f"{self} is sealed and cannot be transformed in a query")

    def _check_str_default_value(self) -> list[checks.CheckMessage]:
        return []

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        return [
            *super().check(**kwargs),
            *self._check_row_id(),
            *self._check_indexes(),
            *self._check_holder(),
        ]

    def _check_row_id(self) -> list[checks.CheckMessage]:
        pk = self.model._meta.pk
        if isinstance(pk, models.UUIDField) and pk.has_default():
            return []
        return [
            checks.Error("A sealed row needs a UUID primary key with a default.", obj=self, id="store.E001")
        ]

    def _check_indexes(self) -> list[checks.CheckMessage]:
        if self.db_index or self.unique or self.primary_key:  # type: ignore[attr-defined]
            return [checks.Error("A sealed value cannot be indexed or unique.", obj=self, id="store.E002")]
        return []

    def _check_holder(self) -> list[checks.CheckMessage]:
        model: Any = self.model
        for name in self.holder.split(".") if self.holder else []:
            try:
                model = model._meta.get_field(name).related_model
            except FieldDoesNotExist:
                model = None
            if model is None:
                message = f"{self.holder!r} does not lead to a holder key: {name!r} is no relation."
                return [checks.Error(message, obj=self, id="store.E003")]
        if self.holder and not hasattr(model, "unwrap"):
            return [checks.Error(f"{self.holder!r} is no holder key.", obj=self, id="store.E003")]
        return []


def sealed_fields(model: type[models.Model]) -> list[SealedField]:
    """The sealed fields of a model."""
    return [field for field in model._meta.concrete_fields if isinstance(field, SealedField)]


def sealed_field(model: type[models.Model], name: str) -> SealedField:
    """One sealed field; raises TypeError when `name` is another kind of field."""
    field = model._meta.get_field(name)
    if not isinstance(field, SealedField):
        raise TypeError(f"{field} is not sealed")
    return field


def seal_value(
    model: type[models.Model], name: str, pk: Any, value: Any, holder_key: bytes | None = None
) -> SealedBytes:
    """A value for `update()`: sealed for the field `name` of the row `pk`."""
    return sealed_field(model, name).seal(pk, value, holder_key)


def open_values(
    model: type[models.Model],
    name: str,
    rows: Iterable[tuple[Any, bytes | None]],
    holder_key: bytes | None = None,
) -> list[Any]:
    """Open the field `name` of many rows of one holder, without instances.

    `rows` are pairs of id and sealed value, as `values_list("pk", name)` gives them; the result has
    their order, None for NULL. Raises Tampered for a row that was not sealed at its place.
    """
    field = sealed_field(model, name)
    return _opened(field, rows, holder_key, field.decode)


def open_texts(
    model: type[models.Model],
    name: str,
    rows: Iterable[tuple[Any, bytes | None]],
    holder_key: bytes | None = None,
) -> list[Any]:
    """As `open_values`, with a JSON value left as its text: reading the JSON costs more than opening it."""

    def decode(content: bytes) -> str:
        return content.decode("utf-8", "surrogatepass")

    return _opened(sealed_field(model, name), rows, holder_key, decode)


def _opened(
    field: SealedField,
    rows: Iterable[tuple[Any, bytes | None]],
    holder_key: bytes | None,
    decode: Callable[[bytes], Any],
) -> list[Any]:
    prefix = field.aad_prefix()
    unwrap = (
        named_keyring(field.keyring).unwrap
        if holder_key is None
        else partial(open_sealed, cipher(holder_key))
    )
    opened: list[Any] = []
    for pk, sealed in rows:
        if sealed is None:
            opened.append(None)
        else:
            place = prefix + (pk.bytes if isinstance(pk, UUID) else str(pk).encode())
            opened.append(decode(unwrap(sealed, place)))
    return opened


def reseal(instance: models.Model, **changes: Any) -> None:
    """Open every sealed value of `instance`, then set `changes`, which may lead to another holder.

    The next `save()` seals under the new holder. Setting the relation alone would leave values behind
    that only the old holder opens. Raises Tampered, Shredded before anything is changed.
    """
    for field in sealed_fields(type(instance)):
        getattr(instance, field.attname)
    for name, value in changes.items():
        setattr(instance, name, value)
