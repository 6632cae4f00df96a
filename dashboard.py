"""The dashboard: `make dashboard`, or `streamlit run dashboard.py`."""

from mmrag.ui.navigation import run

run()
