"""Who is asking: sessions, people, organisations."""
