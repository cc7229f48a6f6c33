"""Makes a version of rows online: all of them as they stand at one moment, imported as a file would be.

Called by `generating`. Rows that are written meanwhile are in the next version, and make this one outdated.
"""

from modelyard.datasets.importing import ImportFailed, import_bytes
from modelyard.datasets.streaming import take_rows
from modelyard.execution import RunContext
from modelyard.feature_groups.outcomes import Failure, Generated
from modelyard.feature_groups.records import FeatureGroupVersion
from modelyard.ids import OnlineTableId


def take_snapshot(run: RunContext, version: FeatureGroupVersion, table_id: OnlineTableId) -> Generated | Failure:
    """The rows as they stand now; the version notes at which change that was."""
    taken = take_rows(run, table_id)
    with run.transaction() as session:
        mine = session.get(FeatureGroupVersion, version.feature_group_version)
        if mine is not None:  # else it is a draft, of which nothing is kept
            mine.online_change = taken.last_change
    try:
        imported = import_bytes(run, [taken.blob.digest], taken.blob.size, taken.reading)
    except ImportFailed as error:
        return Failure(str(error))
    return Generated(imported.table)
