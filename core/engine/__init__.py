"""Two ports, Tagger and Writer, and the engines behind them."""
