"""Deployments to observe: those of the tests of deployments."""

from tests.deployments.conftest import base_lock as base_lock
from tests.deployments.conftest import own_workshop as own_workshop
from tests.deployments.conftest import workshop as workshop
