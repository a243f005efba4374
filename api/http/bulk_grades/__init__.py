"""Files of grades: exported as CSV, filled in, uploaded again as overrides.

Source: edx-bulk-grades, ``/api/bulk_grades/``.
"""
