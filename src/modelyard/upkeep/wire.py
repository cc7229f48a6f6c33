"""The shapes of this room that callers see: our own, as the API has no words for these things."""

import msgspec


class EnvironmentShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A locked set of packages, built on this machine."""

    environment_id: str
    python: str
    platform: str
    #: Bytes of its files, as if none were shared with other environments.
    size: int
    created_at: str
    last_used_at: str | None
    #: How many model versions of the organisation were trained with it.
    model_versions: int
    #: Name -> version.
    packages: dict[str, str]


class EnvironmentUserShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A model version that was trained with an environment, and where it is deployed."""

    model_version: str
    model_id: str
    model_name: str
    deployment_ids: list[str]


class DescribedEnvironmentShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An environment with its lock and who uses it."""

    environment: EnvironmentShape
    #: Every package with the digests of its files, as pip reads it.
    lock: str
    used_by: list[EnvironmentUserShape]


class CollectedShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a collection of blobs found and removed."""

    kept: int
    removed: int
    removed_bytes: int
    #: Named by nothing, but younger than work that goes on or than `blob_grace_s`; a later collection takes them.
    too_new: int
