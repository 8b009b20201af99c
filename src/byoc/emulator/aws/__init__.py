"""An emulated AWS account: EC2 on moto made strict, and the few other services that byoc asks."""
