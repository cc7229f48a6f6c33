"""The refresh schedules of models: when the next version will be trained, as `refresh` keeps them."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.ids import ModelId
from modelyard.refresh.records import RefreshTarget, RefreshType
from modelyard.refresh.schedules import schedules_of
from modelyard.refresh.wire import RefreshScheduleShape


def schedules_of_models(session: Session, model_ids: Sequence[ModelId]) -> dict[ModelId, list[RefreshScheduleShape]]:
    """The schedules of those of the models that have any."""
    mine = (RefreshTarget.kind == RefreshType.MODEL, RefreshTarget.target_id.in_(model_ids))
    refreshed = session.scalars(select(RefreshTarget.target_id).where(*mine).distinct())
    return {ModelId(each): schedules_of(session, RefreshType.MODEL, each) for each in refreshed}
