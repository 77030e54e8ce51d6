// Pictures marked with data-src are fetched when they come near the window.
const watcher = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    target.src = target.dataset.src;
    watcher.unobserve(target);
  }
}, { rootMargin: "200px" });
document.querySelectorAll("img.lazy").forEach((img) => watcher.observe(img));
