"""The dashboard of `deploy/superset`, imported and rendered in a browser."""

import io
import zipfile

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from processes import REPOSITORY

BUNDLE = REPOSITORY / "deploy/superset"
SHIPPED_URI = "datafusion+adbc://127.0.0.1:50051/ticklake/gold"
DEADLINE_S = 90


def bundle(address):
    """The folder as Superset's import takes it, with the address of the server under test."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for file in sorted(BUNDLE.rglob("*.yaml")):
            text = file.read_text().replace(SHIPPED_URI, f"datafusion+adbc://{address}/ticklake/gold")
            archive.writestr(f"ticklake/{file.relative_to(BUNDLE)}", text)
    return content.getvalue()


@pytest.fixture
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1400,1200"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    yield browser
    browser.quit()


def test_imported_and_rendered(packaged, market, browser, tmp_path, request):
    request.addfinalizer(lambda: forget_datasets(packaged))
    packaged.upload("dashboard/import/", "formData", bundle(market.address), {"overwrite": "true"})
    log_in(browser, packaged.address)
    browser.get(f"{packaged.address}/superset/dashboard/ticklake-market/?standalone=1")
    try:
        WebDriverWait(browser, DEADLINE_S).until(lambda b: len(b.find_elements(By.CSS_SELECTOR, "canvas")) >= 2)
        WebDriverWait(browser, DEADLINE_S).until(lambda b: len(b.find_elements(By.CSS_SELECTOR, "table tbody tr")) >= 12)
    finally:
        browser.save_screenshot(str(tmp_path / "dashboard.png"))
    text = browser.find_element(By.TAG_NAME, "body").text
    assert "SOL-USDT" in text
    assert "error" not in text.lower(), text


def forget_datasets(superset):
    for dataset in superset.get("dataset/")["result"]:
        superset.delete(f"dataset/{dataset['id']}")


def log_in(browser, address):
    browser.get(f"{address}/login/")
    wait = WebDriverWait(browser, DEADLINE_S)
    wait.until(lambda b: b.find_element(By.ID, "username")).send_keys("admin")
    browser.find_element(By.ID, "password").send_keys("admin")
    browser.find_element(By.CSS_SELECTOR, "button[type=submit], input[type=submit]").click()
    wait.until(lambda b: "/login" not in b.current_url)
