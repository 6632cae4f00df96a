"""Vision-language models behind the OpenAI protocol: requests, cache, prices and budget."""
