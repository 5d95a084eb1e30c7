"""The register/login API of postgres-failover."""
