"""The shapes that say how exactly a version was made, and how another one that was made the same way compares.

Keys of this platform's own, in every answer that holds a ModelVersion; the SDK passes over keys that it doesn't know.
"""

from typing import Any

import msgspec

from modelyard.models.history.differences import Difference


class VersionRevisionShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The revision that was trained."""

    model_revision: str
    number: int
    #: sha256 of the source.
    source_digest: str
    #: Modules that the source imports: name and sha256 of each.
    modules: dict[str, str]


class VersionEnvironmentShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The packages. Null until they are resolved."""

    #: Digest of the lock, the Python version and the platform.
    environment_id: str | None
    #: sha256 of the lock.
    lock_digest: str | None
    #: Exact versions with the hashes of their wheels, as pip reads it. Null in lists.
    lock: str | None


class VersionTableShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One table, in the order in which `train` got them."""

    table_name: str
    feature_group_id: str
    #: Null until the table is materialised.
    feature_group_version: str | None


class VersionConfigShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The training config and the seed."""

    #: As it was given.
    training_config: dict[str, Any] | None
    #: What Python's and numpy's random generators began with.
    seed: int
    #: CONFIG: the training config names it; PLATFORM: it was chosen for this training.
    seed_from: str


class MadeFromShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The five exact things that a version is made from."""

    revision: VersionRevisionShape
    environment: VersionEnvironmentShape
    tables: list[VersionTableShape]
    config: VersionConfigShape
    #: python, platform, modelyard, cores, memoryGib, gpus, gpuModels, hashSeed. Null until the training begins.
    runtime: dict[str, Any] | None


class ReproductionShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a version compares with the one that it was to be the same as."""

    #: Whether artifact, files and metrics are the same, to the byte and to the last digit.
    is_same: bool
    is_artifact_same: bool
    are_files_same: bool
    are_metrics_same: bool
    #: What is not the same: `artifact`, `files.NAME`, `metrics.NAME`, `metricSteps`, `runtime.NAME`, `environmentId`.
    differences: list[Difference]
    #: The differences in words, or that there are none.
    text: str


class VersionDiffShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What differs between two versions, in what they were made from and in what came out."""

    before: str
    after: str
    #: `revision.*`, `packages.*`, `tables.*`, `config.*`, `runtime.*`, `metrics.*`, `artifact`.
    differences: list[Difference]
    #: Unified diff of the sources; empty where they are the same.
    source_diff: str
    #: Unified diff of the locks as they stand, where one of them can't be read and `packages.*` can't be told.
    lock_diff: str
    #: All of it, as a person reads it.
    text: str
