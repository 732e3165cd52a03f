"""``python -m tcpao_fast`` is ``tcpao``."""

from tcpao_fast.cli import main

if __name__ == "__main__":
    main()
