"""How exactly a version was made: the five things that it is, as they were pinned by its training."""

from collections.abc import Mapping, Sequence

from modelyard.ids import Digest
from modelyard.models.records import ModelRevision, ModelVersion
from modelyard.models.reproduction.wire import (
    MadeFromShape,
    VersionConfigShape,
    VersionEnvironmentShape,
    VersionRevisionShape,
    VersionTableShape,
)
from modelyard.source_code.pins import Pins


def made_from(version: ModelVersion, revision: ModelRevision, texts: Mapping[Digest, str]) -> MadeFromShape:
    """The five things; the lock's text only if it is among `texts`."""
    pinned: Sequence[str | None] = version.feature_group_versions or [None] * len(version.feature_group_ids)
    return MadeFromShape(
        revision=VersionRevisionShape(
            model_revision=revision.revision_id,
            number=revision.number,
            source_digest=revision.source_digest,
            modules=dict(Pins.of(version.module_pins).modules),
        ),
        environment=VersionEnvironmentShape(
            environment_id=version.environment_id,
            lock_digest=version.lock_digest,
            lock=texts.get(version.lock_digest) if version.lock_digest else None,
        ),
        tables=[
            VersionTableShape(table_name=name, feature_group_id=group_id, feature_group_version=group_version)
            for name, group_id, group_version in zip(
                version.training_input_tables, version.feature_group_ids, pinned, strict=False
            )
        ],
        config=VersionConfigShape(
            training_config=version.training_config,
            seed=version.seed,
            seed_from="CONFIG" if version.seed_given else "PLATFORM",
        ),
        runtime=version.runtime,
    )
