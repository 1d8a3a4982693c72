//! Volumes of the first driver.
