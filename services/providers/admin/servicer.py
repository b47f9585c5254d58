"""ProviderAdminService as a whole."""

from services.providers.admin.credentials import CredentialRpcs
from services.providers.admin.endpoints import EndpointRpcs
from services.providers.admin.overrides import OverrideRpcs
from turnpike.providers.v1 import providers_admin_pb2_grpc


class ProviderAdminServicer(
    CredentialRpcs, EndpointRpcs, OverrideRpcs, providers_admin_pb2_grpc.ProviderAdminServiceServicer
):
    """What admins may ask."""
