import { render } from 'preact';
import { Explorer } from './explorer.js';

const root = document.getElementById('explorer');
if (root !== null) render(<Explorer />, root);
