"""What axe-core finds on a page, less what is not ours to mend."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path

from tests.ui.chromium import Browser

__all__ = ["serious"]

# Streamlit's own elements, which a page cannot change, by the rule that they break in Streamlit 1.67
NOT_OURS = {
    "list": "[data-testid=stSidebarNav]",
    "listitem": "[data-testid=stSidebarNav]",
    "svg-img-alt": "[data-testid=stMetricChart]",
    "color-contrast": "[data-testid=stButtonGroup], [data-testid=stSegmentedControl]",
}
_LOOKS = 3
_RUN = """
window.axeFound = null;
axe.run(document, {resultTypes: ['violations']}).then(found => {
  const foreign = %s, lines = [];
  for (const rule of found.violations) {
    if (!['serious', 'critical'].includes(rule.impact)) continue;
    for (const node of rule.nodes) {
      const element = document.querySelector(node.target[0]);
      if (foreign[rule.id] && element && element.closest(foreign[rule.id])) continue;
      lines.push(rule.id + ': ' + node.html.slice(0, 300));
    }
  }
  window.axeFound = JSON.stringify(lines);
}); void 0
"""


def serious(browser: Browser) -> list[str]:
    """One line for each serious or critical finding on the page that is open, naming the rule and the elements."""
    package = importlib.util.find_spec("axe_playwright_python")
    assert package is not None
    assert package.submodule_search_locations
    script = (Path(package.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8")
    browser.value(f"{script}; void 0")
    lines: list[str] = []
    for _ in range(_LOOKS):
        browser.value(_RUN % json.dumps(NOT_OURS))
        browser.wait_for("!!window.axeFound", seconds=60)
        lines = json.loads(browser.value("window.axeFound"))
        if not lines:
            break
        time.sleep(1)  # what fades in or out has colours of its own for a moment
    return lines
