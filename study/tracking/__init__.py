"""MLflow as a mirror of the study's folder: the only room that writes it or reads it back."""

from study.tracking.mirror import Mirror, location, sync_study
from study.tracking.store import check_uri, default_tracking_uri, redact
from study.tracking.writer import SyncReport

__all__ = ["Mirror", "SyncReport", "check_uri", "default_tracking_uri", "location", "redact", "sync_study"]
