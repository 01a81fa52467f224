"""Binary Labels."""
