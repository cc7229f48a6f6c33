"""The refresh schedules of models: when the next version will be trained, as `refresh` keeps them."""

from collections.abc import Sequence

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from modelyard.ids import ModelId
from modelyard.refresh.records import RefreshTarget, RefreshType
from modelyard.refresh.schedules import schedules_of_all
from modelyard.refresh.wire import RefreshScheduleShape

_REFRESHED = (
    select(RefreshTarget.target_id)
    .where(RefreshTarget.kind == RefreshType.MODEL, RefreshTarget.target_id.in_(bindparam("ids", expanding=True)))
    .distinct()
)


def schedules_of_models(session: Session, model_ids: Sequence[ModelId]) -> dict[ModelId, list[RefreshScheduleShape]]:
    """The schedules of those of the models that have any."""
    refreshed = session.scalars(_REFRESHED, {"ids": list(model_ids)}).all()
    found = schedules_of_all(session, RefreshType.MODEL, refreshed) if refreshed else {}
    return {ModelId(each): schedules for each, schedules in found.items()}
