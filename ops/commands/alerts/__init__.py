"""Commands about alerts, escalation, rules, templates and the live feed."""
