"""Who belongs: keys, certificates, rosters and passphrases."""
