"""Queues of RabbitMQ: what the code declares, what the server has, and how much waits."""
