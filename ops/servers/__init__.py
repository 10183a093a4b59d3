"""Files and accounts of the servers: Mosquitto, PostgreSQL, RabbitMQ, Redis and HAProxy."""
