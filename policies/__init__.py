"""What a key may do: the language of permissions and its evaluator. Pure; knows nothing of HTTP or S3's XML."""
