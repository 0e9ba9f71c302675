// The print of a lead: a button for those who do not find it in their browser's menu.
import { byId } from './dom.js';

byId('print').hidden = false;
byId('print').addEventListener('click', () => print());
