"""Sources as operators manage them: credentials, CSV files, new ids."""
