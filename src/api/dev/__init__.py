"""Everything on one machine: stores, simulated companies, migrations, API and worker, watched by one supervisor."""
