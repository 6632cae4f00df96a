"""The dashboard: `make dashboard`, or `streamlit run dashboard.py`."""

from mmrag.ui.first_run import prepare
from mmrag.ui.navigation import run

prepare()
run()
