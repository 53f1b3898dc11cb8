"""What a CI system asks of models: the check against a policy, baselines, certificates, the audit."""
