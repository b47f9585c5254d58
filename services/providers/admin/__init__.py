"""ProviderAdminService, one module a kind of thing: credentials, endpoints, overrides of the catalogue."""
