"""The AWS JSON 1.1 protocol as Amazon Rekognition speaks it: signatures, shapes, constraints, faults.

Everything here is driven by the service model that botocore ships. It knows shapes and errors; it does not
know what a face, a gallery or an account is.
"""
