// The theme loads 1.4 MB of icons from here. The book needs ten, and draws them in book.css.
