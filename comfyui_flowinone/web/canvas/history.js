/** States to go back to and forth. States are never changed in place, so keeping them costs little. */

const MOST = 200;

export class History {
  constructor(state) {
    this.past = [];
    this.state = state;
    this.future = [];
  }

  /** Make a new state the present one. Steps with the same `group` that follow each other count as one. */
  push(state, group = null) {
    if (state === this.state) return;
    if (group === null || group !== this.group) {
      this.past.push(this.state);
      if (this.past.length > MOST) this.past.shift();
    }
    this.group = group;
    this.state = state;
    this.future = [];
  }

  /** End a group, so that the next step of its kind is one of its own. */
  settle() {
    this.group = null;
  }

  undo() {
    if (!this.past.length) return false;
    this.future.push(this.state);
    this.state = this.past.pop();
    this.group = null;
    return true;
  }

  redo() {
    if (!this.future.length) return false;
    this.past.push(this.state);
    this.state = this.future.pop();
    this.group = null;
    return true;
  }

  /** Go to the nearest state that `is` the one, back before forth; whether there was one. */
  seek(is) {
    if (is(this.state)) return true;
    const [back, forth] = [this.past.findLastIndex(is), this.future.findLastIndex(is)];
    const steps = back >= 0 ? this.past.length - back : this.future.length - forth;
    if (back < 0 && forth < 0) return false;
    for (let step = 0; step < steps; step++) back >= 0 ? this.undo() : this.redo();
    return true;
  }
}
