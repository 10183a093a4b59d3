"""Texts of notifications: templates, translations and SMS length."""
