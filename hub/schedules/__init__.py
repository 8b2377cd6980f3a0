"""When something is due: cron and its like, from text to instants. Pure; knows no rows and no runs."""
