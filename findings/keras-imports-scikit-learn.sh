#!/usr/bin/env bash
# `import keras` imports scikit-learn and SciPy wherever they are installed, whatever the script uses of Keras.
#
# Keras 3.15.1, TensorFlow 2.21.0 (CPU), scikit-learn 1.9.1, Python 3.11, November 2026.
#
# Expected: optional packages are imported by what needs them, as keras.wrappers.SKLearnClassifier needs scikit-learn.
# Seen: keras/wrappers is imported with keras, and asks for scikit-learn's base classes at once. Each start of a training
#   takes that much longer (some 300 modules more), also of one that only has scikit-learn in its environment.
# Output: modules after `import keras`: sklearn yes, scipy yes; hundreds more than without
here=$(dirname "$(readlink -f "$0")")
. "$here/environment" tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6 scikit-learn==1.9.1
count='import keras, sys; print(len(sys.modules), *("yes" if n in sys.modules else "no" for n in ("sklearn", "scipy")))'
read -r with sklearn scipy < <(python -c "$count")
pip uninstall --quiet --yes scikit-learn scipy
read -r without _ < <(python -c "$count")
more=$([ $((with - without)) -gt 200 ] && echo "hundreds more than without" || echo "$((with - without)) more")
line="modules after \`import keras\`: sklearn $sklearn, scipy $scipy; $more"
echo "$line"
[ "$line" = 'modules after `import keras`: sklearn yes, scipy yes; hundreds more than without' ]
