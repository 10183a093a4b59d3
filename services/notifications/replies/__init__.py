"""Answers to notifications: links, codes and SMS replies."""
