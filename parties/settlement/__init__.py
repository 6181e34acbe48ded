"""From contributions to money: dossiers, proposals, live records and payees."""
