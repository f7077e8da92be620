"""The JSON API, with DRF's browsable pages and the OpenAPI document."""
