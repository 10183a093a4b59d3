"""The MQTT gateway: messages of devices become events, and receipts go back to the devices."""
