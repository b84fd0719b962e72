"""The command line of featurekit: one thin file for each verb."""
