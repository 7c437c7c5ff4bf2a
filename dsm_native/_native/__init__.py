"""Thin Cython skins over the C core. Import `dsm_native`, not this."""
